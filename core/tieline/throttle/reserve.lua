-- Reserve one call in every window, with its permit and past the breaker, or in none.
--
-- KEYS: what is known of the account, the endpoint and the application (hashes),
--       the breaker (hash), the permits (sorted set), then the list of each window.
-- ARGV: name of the call, rank (1 live, 2 sync, 3 backfill), when it first asked (0: now),
--       seconds that may be booked ahead, seconds it may wait in all, alert level, reserve,
--       concurrency (0: no bound), lease of a permit in seconds, override that the caller knows,
--       then of each window: limit, period, number of its state in KEYS, scope, label.
--
-- A list holds the times of calls, newest first, as the moving-window strategy of `limits` has
-- them; a last digit beyond the microseconds is the rank. `<list>:rest` holds those that are not
-- live, where a share is kept. Who finds no room stands in `<list>:line` (by rank, then by when
-- it first asked) until it comes back at the moment that it was told, in `<list>:due`; who is
-- late, or dead, is passed over.
--
-- Returns {"go", wait, asked, failures}: booked, to be sent in so many seconds;
-- {"wait", seconds, asked}: ask again then; {"far", seconds}: no room in time;
-- {"open", seconds}: the breaker is open; {"override", text}: other limits hold now.
local RECOVERY_PER_S = 0.1 / 60
local LATE_S = 0.02
local KEPT_MS = 86400000
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local name, rank = ARGV[1], tonumber(ARGV[2])
local is_first = ARGV[3] == '0'
local asked = is_first and now or tonumber(ARGV[3])
local ahead_s, patience = tonumber(ARGV[4]), tonumber(ARGV[5])
local alert_at, reserve = tonumber(ARGV[6]), tonumber(ARGV[7])
local concurrency, lease = tonumber(ARGV[8]), tonumber(ARGV[9])
local place, permits = KEYS[1], KEYS[5]
local score = rank * 1e10 + asked
local before = '(' .. string.format('%.6f', score)

-- Say how many stand in a line before this call; who is late is out of it.
local function ahead_of_us(line)
  if redis.call('EXISTS', line .. ':line') == 0 then
    return 0
  end
  local late = redis.call('ZRANGEBYSCORE', line .. ':due', '-inf', now)
  if #late > 0 then
    redis.call('ZREM', line .. ':due', unpack(late))
    redis.call('ZREM', line .. ':line', unpack(late))
  end
  return redis.call('ZCOUNT', line .. ':line', '-inf', before)
end

local function stand_in(line, seconds)
  redis.call('ZADD', line .. ':line', string.format('%.6f', score), name)
  redis.call('ZADD', line .. ':due', string.format('%.6f', now + seconds + LATE_S), name)
  local kept = math.ceil((seconds + 1) * 1000)
  redis.call('PEXPIRE', line .. ':line', math.max(kept, redis.call('PTTL', line .. ':line')))
  redis.call('PEXPIRE', line .. ':due', math.max(kept, redis.call('PTTL', line .. ':due')))
end

-- Other limits may hold for a while.
local known = redis.call('HMGET', place, 'override', 'override_until')
local override = ''
if known[1] and tonumber(known[2]) > now then
  override = known[1]
end
if override ~= ARGV[10] then
  return {'override', override}
end

-- The breaker lets nobody through while it is open, then one.
local breaker = redis.call('HMGET', KEYS[4], 'until', 'probe', 'probe_until', 'failures')
local is_probe = false
if breaker[1] then
  if tonumber(breaker[1]) > now then
    return {'open', tostring(tonumber(breaker[1]) - now)}
  end
  if breaker[2] and breaker[2] ~= name and tonumber(breaker[3]) > now then
    return {'open', tostring(math.min(tonumber(breaker[3]) - now, 5))}
  end
  is_probe = true
end

-- What answers told: pauses, and how much of the policy is allowed.
local at, shares, paused_by = now, {}, nil
local gap = 0
for n = 1, 3 do
  local told = redis.call('HMGET', KEYS[n], 'pause', 'share', 'cut_at', 'gap', 'gap_until')
  local pause = tonumber(told[1] or 0)
  if pause > at then
    at, paused_by = pause, n
  end
  shares[n] = 1
  if told[2] then
    shares[n] = math.min(1, tonumber(told[2]) + (now - tonumber(told[3])) * RECOVERY_PER_S)
  end
  if rank > 1 and told[4] and tonumber(told[5]) > now then
    gap = math.max(gap, tonumber(told[4]))
  end
end

local line, must_wait = nil, false
local windows = {}
for n = 6, #KEYS do
  local first = 11 + (n - 6) * 5
  local declared, period = tonumber(ARGV[first]), tonumber(ARGV[first + 1])
  local limit = math.max(1, math.floor(declared * shares[tonumber(ARGV[first + 2])]))
  local newest = tonumber(redis.call('LINDEX', KEYS[n], 0) or 0)
  local oldest = tonumber(redis.call('LINDEX', KEYS[n], limit - 1) or 0)
  local free = math.max(newest, oldest + period)
  local most = limit
  -- Within a second a live call's turn comes anyway, for it comes before all others.
  local is_kept = rank > 1 and period > 1 and reserve > 0
  if is_kept then
    most = math.max(1, limit - math.ceil(limit * reserve))
    free = math.max(free, tonumber(redis.call('LINDEX', KEYS[n] .. ':rest', most - 1) or 0) + period)
  end
  local mark = math.max(0, math.ceil(limit * alert_at) - 1)
  local marked = tonumber(redis.call('LINDEX', KEYS[n], mark) or 0)
  local is_near = marked > math.max(at, free) - period
  -- Spread what is left, over so many calls that one which was late is made up for.
  if is_near and rank > 1 then
    local over = math.max(1, math.ceil(most * (1 - alert_at)))
    local first_of_them = tonumber(redis.call('LINDEX', KEYS[n], over - 1) or 0)
    free = math.max(free, newest + period / most * 0.8, first_of_them + over * period / most)
  end
  if gap > 0 then
    free = math.max(free, newest + gap)
  end
  local ahead = ahead_of_us(KEYS[n])
  if ahead > 0 then
    must_wait = true
    free = math.max(free, now) + ahead * period / most
  end
  local is_paused = paused_by == tonumber(ARGV[first + 2])
  if free > at or ((ahead > 0 or is_paused) and line == nil) then
    line = KEYS[n]
  end
  at = math.max(at, free)
  windows[#windows + 1] = {KEYS[n], first, newest == 0, is_near}
end
local wait = at - now
if now - asked + wait > patience then
  return {'far', tostring(wait)}
end
if wait > ahead_s or must_wait then
  local nap = math.max(0.003, wait - ahead_s / 2)
  if line then
    stand_in(line, nap)
  end
  return {'wait', tostring(nap), string.format('%.6f', asked)}
end

-- A permit, unless as many calls are under way as may be.
if concurrency > 0 then
  redis.call('ZREMRANGEBYSCORE', permits, '-inf', now)
  local most = math.max(1, math.floor(concurrency * shares[1]))
  if rank > 1 then
    most = math.max(1, most - math.floor(most * reserve))
  end
  local short = redis.call('ZCARD', permits) + ahead_of_us(permits) - most
  if short >= 0 then
    local usual = tonumber(redis.call('HGET', place, 'hold') or 0.05)
    -- Who is first looks often; who is further back, or waits for long, less so.
    local look = math.max(0.002, math.min(math.max(usual, now - asked) / 20, 0.05))
    local nap = look * (short + 1)
    local nth = redis.call('ZRANGE', permits, short, short, 'WITHSCORES')
    if nth[2] then
      nap = math.max(nap, math.min(tonumber(nth[2]) - lease + usual - now, 1))
    end
    if now - asked + nap > patience then
      return {'far', tostring(usual)}
    end
    stand_in(permits, nap)
    return {'wait', tostring(nap), string.format('%.6f', asked)}
  end
  redis.call('ZADD', permits, string.format('%.6f', at + lease), name)
  redis.call('PEXPIRE', permits, math.ceil(lease * 2000))
end

for _, window in ipairs(windows) do
  local key, first, is_new, is_near = unpack(window)
  local limit, period = tonumber(ARGV[first]), tonumber(ARGV[first + 1])
  local entry, kept = string.format('%.6f%d', at, rank), math.ceil((wait + period * 2) * 1000)
  redis.call('LPUSH', key, entry)
  redis.call('LTRIM', key, 0, limit - 1)
  redis.call('PEXPIRE', key, kept)
  if rank > 1 and period > 1 and reserve > 0 then
    redis.call('LPUSH', key .. ':rest', entry)
    redis.call('LTRIM', key .. ':rest', 0, limit - 1)
    redis.call('PEXPIRE', key .. ':rest', kept)
  end
  -- Another account may have been first in a window of the whole application.
  if is_new or ARGV[first + 3] == 'application' then
    local about = {ARGV[first + 3], ARGV[first], ARGV[first + 1],
      KEYS[tonumber(ARGV[first + 2])], ARGV[first + 4]}
    redis.call('HSET', place .. ':windows', key, table.concat(about, '|'))
  end
  -- One event for each time that the level is crossed, not for each call beyond it.
  if is_near and limit > 1 then
    local flag = key .. ':near'
    if not redis.call('SET', flag, 1, 'PX', math.max(60000, period * 2000), 'GET') then
      local event = {kind = 'near-limit', place = place, subject = ARGV[first + 4], at = now}
      redis.call('RPUSH', 'tieline:throttle:events', cjson.encode(event))
      redis.call('LTRIM', 'tieline:throttle:events', -1000, -1)
    end
  end
  if not is_first then
    redis.call('ZREM', key .. ':line', name)
    redis.call('ZREM', key .. ':due', name)
  end
end
if not is_first then
  redis.call('ZREM', permits .. ':line', name)
  redis.call('ZREM', permits .. ':due', name)
end
if #windows > 0 then
  redis.call('PEXPIRE', place .. ':windows', KEPT_MS)
end
redis.call('HINCRBY', place, 'calls:' .. rank, 1)
if redis.call('PTTL', place) < KEPT_MS / 2 then
  redis.call('PEXPIRE', place, KEPT_MS)
end
if is_probe then
  redis.call('HSET', KEYS[4], 'probe', name, 'probe_until', string.format('%.6f', at + lease))
end
return {'go', tostring(wait), string.format('%.6f', asked), breaker[4] or '0'}
