#!lua flags=allow-oom
-- Replaces a session's record, if it still is the one that the caller has read.
--
-- Everything rare that changes a record (ending it, ageing it) goes through this one script:
-- read, compute in Curfew, replace; on a mismatch the caller reads again. It touches a single key,
-- so it runs on any shard, and it can neither create a key nor replace what it was not shown.
-- A full server must not keep sessions from being ended, so it runs beyond maxmemory, too.
--
-- KEYS[1]  the session
-- ARGV[1]  the record as read
-- ARGV[2]  the key's expiry as read, in milliseconds since the epoch; '' to accept any, where an
--          activity in between (which only moves the expiry) makes no difference
-- ARGV[3]  the new record
-- ARGV[4]  its expiry, in milliseconds since the epoch
-- ARGV[5]  the channel on which others are told
-- ARGV[6]  what they are told
--
-- Answers 1 when it was replaced, 0 when it is not the same any more, and 2 when it was replaced and
-- this user may not tell anybody.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' and redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
local told = redis.pcall('PUBLISH', ARGV[5], ARGV[6])
if type(told) == 'table' and told.err then
  return 2
end
return 1
