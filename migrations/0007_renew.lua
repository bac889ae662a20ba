#!lua flags=allow-oom
-- Writes the unchanged expiry of a session, so that WAIT on this connection counts from here.
-- Writes nothing if there is no session.
--
-- KEYS[1]  the session
--
-- Returns 1 if the expiry was written, 0 if there is no session.
local expiry = redis.call('PEXPIRETIME', KEYS[1])
if expiry < 0 then
  return 0
end
return redis.call('PEXPIREAT', KEYS[1], expiry)
