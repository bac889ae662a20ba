#!lua flags=allow-oom
-- Adds a revocation rule to the set of 0009, and logs that the rules have changed. A rule with the conditions of
-- another moves that one's time forward; one for everybody takes the place of all with an older time.
--
-- KEYS[1]  the set
-- ARGV[1]  the rule's conditions
-- ARGV[2]  sessions that started before this have ended, in milliseconds since the epoch
-- ARGV[3]  rules with a time up to this are forgotten: no session that started before can live
-- ARGV[4]  now
-- ARGV[5]  how many rules there can be
-- ARGV[6]  the channel on which replicas are told
-- ARGV[7]  what they are told
-- ARGV[8]  the epoch, if the set has none
-- ARGV[9]  1 where the rule is for everybody
--
-- Answers the number of the change; 0 when there are too many rules.
local RULES, LOG, LOGGED_MILLIS = 2251799813685248, 4503599627370496, 30000
local set, before = KEYS[1], tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', set, RULES, RULES + tonumber(ARGV[3]))
if ARGV[9] == '1' then
  redis.call('ZREMRANGEBYSCORE', set, RULES, RULES + before)
end
local rules = redis.call('ZRANGEBYSCORE', set, RULES, '(' .. string.format('%.0f', LOG))
if #rules >= tonumber(ARGV[5]) and not redis.call('ZSCORE', set, ARGV[1]) then
  return 0
end
local previous = tonumber(redis.call('ZSCORE', set, '') or 0)
local number = math.max(previous + 1, tonumber(ARGV[4]))
redis.call('ZADD', set, 'GT', RULES + before, ARGV[1])
redis.call('ZADD', set, number, '')
redis.call('ZADD', set, 'NX', ARGV[8], '#')
redis.call('ZADD', set, LOG + number, 'rules:' .. string.format('%.0f', previous))
redis.call('ZREMRANGEBYSCORE', set, LOG, LOG + number - LOGGED_MILLIS)
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return number
