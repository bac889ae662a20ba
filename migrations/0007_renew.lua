#!lua flags=allow-oom
-- Writes what is there already, the expiry of a session, so that WAIT on this connection counts
-- from here. Where there is no session nothing is written, and there is nothing to wait for.
--
-- KEYS[1]  the session
local expiry = redis.call('PEXPIRETIME', KEYS[1])
if expiry < 0 then
  return 0
end
return redis.call('PEXPIREAT', KEYS[1], expiry)
