#!lua flags=allow-oom
-- Removes a session that was just created, if it still is the one that the caller has read.
--
-- KEYS[1]  the session
-- ARGV[1]  the record as read
-- ARGV[2]  the channel for session ends
-- ARGV[3]  the message for it
--
-- Answers 1 when it was removed, 0 when it is not the same any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
