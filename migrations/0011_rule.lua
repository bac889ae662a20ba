#!lua flags=allow-oom
-- Adds a revocation rule to the set that 0009 describes, and logs that the rules have changed. A rule ends all
-- sessions that meet its conditions and started before its time. If a rule with the same conditions exists, the time
-- of that rule moves forward. A rule for everybody replaces all rules with an older time.
--
-- KEYS[1]  the set
-- ARGV[1]  the conditions of the rule
-- ARGV[2]  the time of the rule, in milliseconds since the epoch
-- ARGV[3]  the script removes rules with a time up to this time, because no session that started earlier can still be
--          live
-- ARGV[4]  now
-- ARGV[5]  the maximum number of rules
-- ARGV[6]  the channel on which the script announces the change to all replicas
-- ARGV[7]  the message for the channel
-- ARGV[8]  the epoch to write if the set has none
-- ARGV[9]  1 if the rule is for everybody
--
-- Returns the sequence number of the change; 0 if there are too many rules.
local RULES, LOG, LOGGED_MILLIS = 2251799813685248, 4503599627370496, 30000
local set, before = KEYS[1], tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', set, RULES, RULES + tonumber(ARGV[3]))
if ARGV[9] == '1' then
  redis.call('ZREMRANGEBYSCORE', set, RULES, RULES + before)
end
local rules = redis.call('ZRANGEBYSCORE', set, RULES, '(' .. string.format('%.0f', LOG))
if #rules >= tonumber(ARGV[5]) and not redis.call('ZSCORE', set, ARGV[1]) then
  return 0
end
local previous = tonumber(redis.call('ZSCORE', set, '') or 0)
local number = math.max(previous + 1, tonumber(ARGV[4]))
redis.call('ZADD', set, 'GT', RULES + before, ARGV[1])
redis.call('ZADD', set, number, '')
redis.call('ZADD', set, 'NX', ARGV[8], '#')
redis.call('ZADD', set, LOG + number, 'rules:' .. string.format('%.0f', previous))
redis.call('ZREMRANGEBYSCORE', set, LOG, LOG + number - LOGGED_MILLIS)
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return number
