#!lua flags=allow-oom
-- Removes an ended session from the deadline queue, and adds its end to the Redis stream of session
-- ends. Both happen atomically, so each end is in the stream exactly once.
--
-- KEYS[1]  the deadline queue, a sorted set of session IDs, scored by due time
-- KEYS[2]  the Redis stream of session ends, for other programs
-- ARGV[1]  the session ID
-- ARGV[2]  the approximate maximum length of the stream; 0 writes nothing
-- ARGV[3…] the fields of the event
--
-- Returns 1 if the session was in the queue, 0 if another process has already removed it.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[2] ~= '0' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
return 1
