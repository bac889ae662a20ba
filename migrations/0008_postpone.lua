#!lua flags=allow-oom
-- Moves a session in the deadline queue. This must work on a full server too, so the script may
-- exceed maxmemory.
--
-- KEYS[1]  the deadline queue
-- ARGV[1]  the session ID
-- ARGV[2]  when it is due
return redis.call('ZADD', KEYS[1], 'XX', ARGV[2], ARGV[1])
