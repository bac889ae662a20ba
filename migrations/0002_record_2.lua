#!lua flags=allow-oom
-- Makes a record of version 2 out of one of version 1: four bytes of the session's name go behind
-- the version and the state. The expiry, which holds the last activity, stays. The caller has put
-- the session into the deadline queue before.
--
-- KEYS[1]  the session
-- ARGV[1]  the first four bytes of its name
--
-- Answers 1 when it was upgraded, 0 when there was nothing to upgrade.
local record = redis.call('GET', KEYS[1])
if not record or string.byte(record, 1) ~= 1 then
  return 0
end
redis.call('SET', KEYS[1], '\2' .. string.sub(record, 2, 2) .. ARGV[1] .. string.sub(record, 3), 'KEEPTTL')
return 1
