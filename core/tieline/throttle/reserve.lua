-- Reserve one call in every window, or in none.
-- KEYS: pause, window list...   ARGV: max wait, share to pace from, then limit and period of each.
-- Lists hold the times of calls, newest first, as the moving-window strategy of `limits` has them.
-- Returns the seconds to wait, and whether the call is booked for then.
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
for n = 2, #KEYS do
  local limit = tonumber(ARGV[2 * n - 1])
  local period = tonumber(ARGV[2 * n])
  local newest = tonumber(redis.call('LINDEX', KEYS[n], 0) or 0)
  local oldest = tonumber(redis.call('LINDEX', KEYS[n], limit - 1) or 0)
  at = math.max(at, newest, oldest + period)
  local mark = math.max(0, math.floor(limit * tonumber(ARGV[2])) - 1)
  local marked = tonumber(redis.call('LINDEX', KEYS[n], mark) or 0)
  if marked > at - period then
    at = math.max(at, newest + period / limit)
  end
end
local wait = at - now
if wait > tonumber(ARGV[1]) then
  return {tostring(wait), 0}
end
for n = 2, #KEYS do
  local limit = tonumber(ARGV[2 * n - 1])
  redis.call('LPUSH', KEYS[n], string.format('%.6f', at))
  redis.call('LTRIM', KEYS[n], 0, limit - 1)
  redis.call('PEXPIRE', KEYS[n], math.ceil((wait + tonumber(ARGV[2 * n]) * 2) * 1000))
end
return {tostring(wait), 1}
