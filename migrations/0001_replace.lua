#!lua flags=allow-oom
-- Replaces the record of a session if it is unchanged since the caller read it.
--
-- All rare changes of a record, such as the end of the session, use this script. Curfew reads the
-- record, computes the new record, and calls the script. If the record has changed since the read,
-- Curfew reads it again and retries. The script uses a single key, so it runs on any shard. It cannot
-- create a key or replace a record that the caller has not read. A full server must still end
-- sessions, so the script may exceed maxmemory.
--
-- KEYS[1]  the session
-- ARGV[1]  the record as read
-- ARGV[2]  the key's expiry as read, in milliseconds since the epoch; '' accepts any expiry, for
--          changes that stay correct if new activity moves the expiry in between
-- ARGV[3]  the new record
-- ARGV[4]  the new expiry of the key, in milliseconds since the epoch
-- ARGV[5]  the channel for invalidations (messages to all replicas that the record has changed)
-- ARGV[6]  the message for the channel
--
-- Returns 1 if the script replaced the record, 0 if the record has changed since the read, and 2 if
-- the script replaced the record but the ACL denies PUBLISH.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' and redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
local published = redis.pcall('PUBLISH', ARGV[5], ARGV[6])
if type(published) == 'table' and published.err then
  return 2
end
return 1
