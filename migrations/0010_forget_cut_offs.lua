#!lua flags=allow-oom
-- Forgets old times of the set of 0009, at most about so many at a call, so that no call takes long.
--
-- KEYS[1]  the set
-- ARGV[1]  times up to this are forgotten
-- ARGV[2]  how many at most
--
-- Answers how many were forgotten.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], 1, ARGV[1], 'LIMIT', 0, ARGV[2])
local forgotten = 0
for _, member in ipairs(old) do
  -- The number of the last change stays, or replicas would take the set for another.
  if member ~= '' then
    forgotten = forgotten + redis.call('ZREM', KEYS[1], member)
  end
end
return forgotten
