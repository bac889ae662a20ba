#!lua flags=allow-oom
-- Replaces the value of a key if the value is unchanged since the caller read it. The expiry of the key stays.
--
-- KEYS[1]  the key
-- ARGV[1]  the value as read; '' if there was none
-- ARGV[2]  the new value
--
-- Returns 1 if the script replaced the value, 0 if the value has changed since the read.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
