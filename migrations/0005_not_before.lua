#!lua flags=allow-oom
-- Notes that all sessions of a subject that started before a time have ended. The time only moves
-- forward. The member '' counts the changes, so that replicas need not read the rest to know that
-- there is none.
--
-- KEYS[1]  the times, a sorted set
-- ARGV[1]  the subject's name
-- ARGV[2]  the time, in milliseconds since the epoch
-- ARGV[3]  what is older than this is forgotten: no session that started before it can live
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local changes = redis.call('ZSCORE', KEYS[1], '') or 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], changes + 1, '')
return 1
