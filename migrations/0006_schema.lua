#!lua flags=allow-oom
-- Sets the schema version of all records. The version only grows, even if several processes set it.
--
-- KEYS[1]  the schema version
-- ARGV[1]  the new version
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
