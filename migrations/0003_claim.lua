#!lua flags=allow-oom
-- Takes sessions out of the deadline queue that are due, for a while: whoever takes one looks after
-- it, and if that process dies it is due again when the while is over.
--
-- KEYS[1]  the deadline queue
-- ARGV[1]  now, in milliseconds since the epoch
-- ARGV[2]  when they are due again
-- ARGV[3]  how many at the most
--
-- Answers their names.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, name in ipairs(due) do
  redis.call('ZADD', KEYS[1], 'XX', ARGV[2], name)
end
return due
