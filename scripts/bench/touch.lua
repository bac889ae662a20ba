-- Does a check in a single script: reads the session, compares its limits, and extends its expiry.
-- The benchmark compares Curfew with this script. Curfew itself does not use it.
local record = redis.call('GET', KEYS[1])
if not record then
  return {0}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local expiry = redis.call('PEXPIRETIME', KEYS[1])
local retention = tonumber(ARGV[1])
local idle = tonumber(ARGV[2])
if expiry > 0 and now - (expiry - retention) >= idle then
  return {1}
end
redis.call('PEXPIREAT', KEYS[1], now + retention, 'GT')
return {2, record}
