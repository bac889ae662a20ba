#!lua flags=allow-oom
-- Notes that all sessions of a subject that started before a time have ended, and logs the change, so that
-- replicas read what has changed and not the whole set. The time only moves forward.
--
-- It writes the set that 0005 writes, so replicas of the version before read it, and it reads theirs. They do not
-- log, so a replica that finds a gap in the log reads the whole set once.
--
-- The set has five kinds of members, apart by length and score:
--   16 bytes  a subject, with its time
--   ''        the number of the last change: it only grows, and is at least the time, so that after a fail-over
--             it does not come to a number again that it had before
--   '*'       the general cut-off, which holds for every subject
--   '#'       a random number from 2^50 on, the epoch: a set that was lost and begun again has another
--   longer    a rule (0011), from 2^51 on; a change in the log, from 2^52 on: the subject, its time, and the number of
--             the change before; the score is 2^52 plus the number of the change
--
-- KEYS[1]  the set
-- ARGV[1]  the subject's name, 16 bytes
-- ARGV[2]  the time, in milliseconds since the epoch
-- ARGV[3]  times up to this are forgotten, some at each call: no session that started before can live
-- ARGV[4]  now
-- ARGV[5]  how many subjects there can be
-- ARGV[6]  the channel on which replicas are told
-- ARGV[7]  what they are told
-- ARGV[8]  the epoch, if the set has none
--
-- Answers the number of the change.
local RULES, LOG, LOGGED_MILLIS, BATCH = 2251799813685248, 4503599627370496, 30000, 100
local set = KEYS[1]
local previous = tonumber(redis.call('ZSCORE', set, '') or 0)
local number = math.max(previous + 1, tonumber(ARGV[4]))
redis.call('ZADD', set, 'GT', ARGV[2], ARGV[1])
redis.call('ZADD', set, number, '')
redis.call('ZADD', set, 'NX', ARGV[8], '#')
redis.call('ZADD', set, LOG + number, ARGV[1] .. ARGV[2] .. ':' .. string.format('%.0f', previous))
redis.call('ZREMRANGEBYSCORE', set, LOG, LOG + number - LOGGED_MILLIS)
local forget = math.min(tonumber(ARGV[3]), number - 1)
local old = redis.call('ZRANGEBYSCORE', set, 1, forget, 'LIMIT', 0, BATCH)
if #old > 0 then
  redis.call('ZREM', set, unpack(old))
end
-- Beyond the bound, the general cut-off takes the place of the oldest.
local beyond = redis.call('ZRANGE', set, ARGV[5], ARGV[5], 'WITHSCORES')
if beyond[2] and tonumber(beyond[2]) < RULES then
  local oldest, names, general = redis.call('ZRANGE', set, 0, BATCH - 1, 'WITHSCORES'), {}, 0
  for place = 1, #oldest, 2 do
    if #oldest[place] == 16 then
      names[#names + 1] = oldest[place]
      general = math.max(general, tonumber(oldest[place + 1]))
    end
  end
  if #names > 0 then
    redis.call('ZADD', set, 'GT', general, '*')
    redis.call('ZREM', set, unpack(names))
  end
end
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return number
