#!lua flags=allow-oom
-- Removes old cut-offs from the set that 0009 describes.
--
-- KEYS[1]  the set
-- ARGV[1]  the script removes cut-offs up to this time
-- ARGV[2]  the maximum number of cut-offs to remove, so that each call is short
--
-- Returns how many cut-offs the script removed.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], 1, ARGV[1], 'LIMIT', 0, ARGV[2])
local forgotten = 0
for _, member in ipairs(old) do
  -- The member '' (the sequence number of the last change) stays: without it, replicas would assume that the set
  -- was lost.
  if member ~= '' then
    forgotten = forgotten + redis.call('ZREM', KEYS[1], member)
  end
end
return forgotten
