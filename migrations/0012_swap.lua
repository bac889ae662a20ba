#!lua flags=allow-oom
-- Replaces a value if it is unchanged since the caller read it. The expiry stays.
--
-- KEYS[1]  the key
-- ARGV[1]  the value as read; '' if there was none
-- ARGV[2]  the new value
--
-- Returns 1 if the value was replaced, 0 if it has changed.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
