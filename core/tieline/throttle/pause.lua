-- Keep every process from calling for a while; a longer pause stays.
-- KEYS: pause   ARGV: seconds
local clock = redis.call('TIME')
local till = clock[1] + clock[2] / 1000000 + tonumber(ARGV[1])
if till > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], string.format('%.6f', till), 'PX', math.ceil(tonumber(ARGV[1]) * 1000) + 1)
end
return 1
