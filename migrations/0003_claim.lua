#!lua flags=allow-oom
-- Claims due sessions from the deadline queue (a sorted set of session IDs, scored by due time) for a
-- limited time. If the process that claimed a session dies, the session is due again after that time.
--
-- KEYS[1]  the deadline queue
-- ARGV[1]  now, in milliseconds since the epoch
-- ARGV[2]  the time at which the claimed sessions are due again
-- ARGV[3]  the maximum number of sessions to claim
--
-- Returns the IDs of the claimed sessions.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', KEYS[1], 'XX', ARGV[2], id)
end
return due
