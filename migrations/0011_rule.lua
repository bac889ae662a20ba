#!lua flags=allow-oom
-- Adds a revocation rule to the set of 0009, and logs that the rules have changed. If a rule with the same
-- conditions exists, its time moves forward. A rule for everybody replaces all rules with an older time.
--
-- KEYS[1]  the set
-- ARGV[1]  the rule's conditions
-- ARGV[2]  sessions that started before this time have ended, in milliseconds since the epoch
-- ARGV[3]  rules with a time up to this are removed: no session that started earlier can be alive
-- ARGV[4]  now
-- ARGV[5]  the maximum number of rules
-- ARGV[6]  the channel for announcements
-- ARGV[7]  the message for it
-- ARGV[8]  the epoch for a set without one
-- ARGV[9]  1 if the rule is for everybody
--
-- Returns the number of the change; 0 if there are too many rules.
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
