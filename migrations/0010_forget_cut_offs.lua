#!lua flags=allow-oom
-- Removes old cut-offs from the set of 0009. The limit keeps each call short.
--
-- KEYS[1]  the set
-- ARGV[1]  cut-offs up to this time are removed
-- ARGV[2]  the maximum number of cut-offs to remove
--
-- Returns how many were removed.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], 1, ARGV[1], 'LIMIT', 0, ARGV[2])
local forgotten = 0
for _, member in ipairs(old) do
  -- The number of the last change stays: without it, replicas would assume a lost set.
  if member ~= '' then
    forgotten = forgotten + redis.call('ZREM', KEYS[1], member)
  end
end
return forgotten
