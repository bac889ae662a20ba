#!lua flags=allow-oom
-- Deletes a session that was just created and that no client has received, if its record is unchanged
-- since the caller read it.
--
-- KEYS[1]  the session
-- ARGV[1]  the record as read
-- ARGV[2]  the channel for invalidations (messages to all replicas that the record has changed)
-- ARGV[3]  the message for the channel
--
-- Returns 1 if the script deleted the session, 0 if its record has changed since the read.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
