#!lua flags=allow-oom
-- Writes the expiry of a session again, without a change. The Redis command WAIT covers everything
-- up to the last write of its own connection. After this write, WAIT on the same connection
-- therefore also covers earlier writes of other connections. Writes nothing if there is no
-- session.
--
-- KEYS[1]  the session
--
-- Returns 1 if the expiry was written, 0 if there is no session.
local expiry = redis.call('PEXPIRETIME', KEYS[1])
if expiry < 0 then
  return 0
end
return redis.call('PEXPIREAT', KEYS[1], expiry)
