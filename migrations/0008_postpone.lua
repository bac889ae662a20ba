#!lua flags=allow-oom
-- Moves a session that is in the deadline queue. A full server must not keep it from being looked
-- at when it is due, and not before.
--
-- KEYS[1]  the deadline queue
-- ARGV[1]  the session's name
-- ARGV[2]  when it is due
return redis.call('ZADD', KEYS[1], 'XX', ARGV[2], ARGV[1])
