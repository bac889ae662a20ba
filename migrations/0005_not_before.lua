#!lua flags=allow-oom
-- Sets the cut-off of a subject: all its sessions that started before this time have ended. The time
-- only moves forward. Only the previous version of Curfew runs this script; this version runs 0009.
--
-- The member '' is a change counter: replicas read the other members only if the counter has changed.
-- The counter only grows, and is at least the current time. So it does not repeat a value if a
-- fail-over loses the last writes.
--
-- KEYS[1]  the cut-offs, a sorted set
-- ARGV[1]  the subject, 16 bytes of a hash
-- ARGV[2]  the time, in milliseconds since the epoch
-- ARGV[3]  the script removes cut-offs up to this time, because no session that started earlier can
--          still be live
-- ARGV[4]  now
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local changes = tonumber(redis.call('ZSCORE', KEYS[1], '') or 0)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], math.max(changes + 1, tonumber(ARGV[4])), '')
return 1
