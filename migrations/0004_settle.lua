#!lua flags=allow-oom
-- Takes an ended session out of the deadline queue for good, and writes its end into the stream.
-- Both happen at once or not at all, so each end is in the stream exactly once.
--
-- KEYS[1]  the deadline queue
-- KEYS[2]  the stream
-- ARGV[1]  the session's name
-- ARGV[2]  about how many ends the stream keeps; 0 to write nothing
-- ARGV[3…] the fields of the event
--
-- Answers 1 when it was in the queue, 0 when another process was faster.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[2] ~= '0' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
return 1
