#!lua flags=allow-oom
-- Replaces a value, if it still is the one that the caller has read. The expiry stays.
--
-- KEYS[1]  the key
-- ARGV[1]  the value as read; '' where there was none
-- ARGV[2]  the new value
--
-- Answers 1 when it was replaced, 0 when it is not the same any more.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
