#!lua flags=allow-oom
-- Notes which schema all records follow. The number only grows, whoever is faster.
--
-- KEYS[1]  the schema
-- ARGV[1]  its number
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
