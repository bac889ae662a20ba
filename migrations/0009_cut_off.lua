#!lua flags=allow-oom
-- Sets the cut-off of a subject: all its sessions that started before this time have ended. The time only moves
-- forward. The script also logs the change, so that replicas read only the changes and not the whole set.
--
-- The script writes the same set as 0005, the script of the previous version, so replicas of both versions can read
-- each other's cut-offs. The previous version does not log its changes, so a replica that finds a gap in the log
-- reads the whole set once.
--
-- The set has five kinds of members, which differ in length and score:
--   16 bytes  a subject, scored by its cut-off
--   ''        scored by the sequence number of the last change, which only grows and is at least the current time, so
--             that a fail-over does not repeat a number
--   '*'       scored by the general cut-off, which applies to every subject
--   '#'       scored by the epoch, a random number of at least 2^50: a set that was lost and created again has
--             another epoch
--   longer    a revocation rule (0011) with a score of at least 2^51, or a logged change with a score of at least
--             2^52. A logged change consists of the subject, the cut-off, and the sequence number of the previous
--             change. Its score is 2^52 plus its own sequence number
--
-- KEYS[1]  the set
-- ARGV[1]  the subject, 16 bytes of a hash
-- ARGV[2]  the time, in milliseconds since the epoch
-- ARGV[3]  each call removes some cut-offs up to this time, because no session that started earlier can still be live
-- ARGV[4]  now
-- ARGV[5]  the maximum number of subjects
-- ARGV[6]  the channel on which the script announces the change to all replicas
-- ARGV[7]  the message for the channel
-- ARGV[8]  the epoch to write if the set has none
--
-- Returns the sequence number of the change.
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
-- If there are more subjects than the maximum, the general cut-off replaces the oldest cut-offs.
local excess = redis.call('ZRANGE', set, ARGV[5], ARGV[5], 'WITHSCORES')
if excess[2] and tonumber(excess[2]) < RULES then
  local oldest, subjects, general = redis.call('ZRANGE', set, 0, BATCH - 1, 'WITHSCORES'), {}, 0
  for i = 1, #oldest, 2 do
    if #oldest[i] == 16 then
      subjects[#subjects + 1] = oldest[i]
      general = math.max(general, tonumber(oldest[i + 1]))
    end
  end
  if #subjects > 0 then
    redis.call('ZADD', set, 'GT', general, '*')
    redis.call('ZREM', set, unpack(subjects))
  end
end
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return number
