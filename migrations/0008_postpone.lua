#!lua flags=allow-oom
-- Changes the due time of a session in the deadline queue. This change must also work on a full
-- server, so the script may exceed maxmemory.
--
-- KEYS[1]  the deadline queue, a sorted set of session IDs, scored by due time
-- ARGV[1]  the session ID
-- ARGV[2]  the new due time, in milliseconds since the epoch
return redis.call('ZADD', KEYS[1], 'XX', ARGV[2], ARGV[1])
