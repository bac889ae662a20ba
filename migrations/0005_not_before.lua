#!lua flags=allow-oom
-- Notes that all sessions of a subject that started before a time have ended. The time only moves
-- forward. The member '' tells that something has changed, so that replicas need not read the rest
-- to know that nothing has: it only grows, and is as great as the time at least, so that after a
-- fail-over it does not come to a number again that it had before.
--
-- KEYS[1]  the times, a sorted set
-- ARGV[1]  the subject's name
-- ARGV[2]  the time, in milliseconds since the epoch
-- ARGV[3]  what is older than this is forgotten: no session that started before it can live
-- ARGV[4]  now
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local changes = tonumber(redis.call('ZSCORE', KEYS[1], '') or 0)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], math.max(changes + 1, tonumber(ARGV[4])), '')
return 1
