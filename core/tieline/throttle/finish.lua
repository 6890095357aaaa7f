-- End one call: give its permit back, and let everybody know what its answer told.
--
-- KEYS: what is known of the account and of what the answer is about (hashes; may be the same),
--       the breaker (hash), the hosts of the connection's breakers (set), the permits (sorted set).
-- ARGV: name of the call, when it was to be sent (0: unknown), lease of a permit (0: it has none),
--       outcome ("ok", "failed", "unknown"), "1" if it was refused for its rate,
--       seconds to stay away (empty: not told), calls left (empty), seconds until they are renewed,
--       failures in a row that open the breaker, seconds that it stays open, host,
--       the connection's id, label of what was refused.
local RECOVERY_PER_S = 0.1 / 60
local LEAST_SHARE = 0.05
local REPEATED_S = 60
local BOOKED_S = 0.2
local LONGEST_PAUSE_S = 32
local KEPT_MS = 86400000
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local account, place, breaker, permits = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local name, sent, lease, outcome = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function tell(kind, where, subject)
  local event = {kind = kind, place = where, subject = subject, at = now}
  redis.call('RPUSH', 'tieline:throttle:events', cjson.encode(event))
  redis.call('LTRIM', 'tieline:throttle:events', -1000, -1)
end

local function keep(key, seconds)
  local wanted = math.max(KEPT_MS, math.ceil(seconds * 1000))
  if redis.call('PTTL', key) < wanted then
    redis.call('PEXPIRE', key, wanted)
  end
end

local function text(number)
  return string.format('%.6f', number)
end

-- The permit, and how long calls usually hold one.
if lease > 0 then
  local ends = redis.call('ZSCORE', permits, name)
  if ends then
    redis.call('ZREM', permits, name)
    local held = math.max(0, now - (tonumber(ends) - lease))
    local usual = tonumber(redis.call('HGET', account, 'hold') or held)
    redis.call('HSET', account, 'hold', text(usual + (held - usual) * 0.2))
    keep(account, 0)
  end
end

-- The breaker: only what has no answer, or a 5xx, is a failure.
local known = redis.call('HMGET', breaker, 'until', 'probe', 'failures')
local is_probe = known[2] == name
if outcome == 'ok' and (is_probe or (known[3] and not known[1])) then
  redis.call('DEL', breaker)
  if is_probe then
    tell('breaker-closed', ARGV[12], ARGV[11])
  end
elseif outcome == 'failed' then
  local failures = redis.call('HINCRBY', breaker, 'failures', 1)
  redis.call('SADD', KEYS[4], ARGV[11])
  redis.call('PEXPIRE', KEYS[4], KEPT_MS)
  redis.call('PEXPIRE', breaker, 3600000)
  if is_probe or (not known[1] and failures >= tonumber(ARGV[9])) then
    redis.call('HSET', breaker, 'until', text(now + tonumber(ARGV[10])))
    redis.call('HDEL', breaker, 'probe', 'probe_until')
    if not known[1] then
      tell('breaker-opened', ARGV[12], ARGV[11])
    end
  end
elseif is_probe then
  redis.call('HDEL', breaker, 'probe', 'probe_until')
end

-- A refusal holds everybody back; refusals again and again halve what is allowed.
local pause = tonumber(ARGV[6])
if ARGV[5] == '1' then
  redis.call('HINCRBY', account, 'refused', 1)
  local told = redis.call('HMGET', place, 'refused_at', 'share', 'cut_at', 'streak')
  local refused_at, streak = tonumber(told[1] or 0), tonumber(told[4] or 0)
  -- Calls that were under way or booked together are refused together: that counts once.
  if sent == 0 or sent > refused_at + BOOKED_S then
    if now - refused_at > REPEATED_S then
      streak = 0
    elseif sent > 0 then
      local share = 1
      if told[2] then
        share = math.min(1, tonumber(told[2]) + (now - tonumber(told[3])) * RECOVERY_PER_S)
      end
      share = math.max(LEAST_SHARE, share / 2)
      redis.call('HSET', place, 'share', text(share), 'cut_at', text(now))
    end
    redis.call('HSET', place, 'refused_at', text(now), 'streak', streak + 1)
    tell('refused', account, ARGV[13])
    if not pause then
      pause = math.min(LONGEST_PAUSE_S, 2 ^ streak)
    end
  end
end
local left, renewed = tonumber(ARGV[7]), tonumber(ARGV[8])
if left and renewed and renewed > 0 then
  if left <= 0 then
    pause = math.max(pause or 0, renewed)
  else
    redis.call('HSET', place, 'gap', text(renewed / left), 'gap_until', text(now + renewed))
    keep(place, 0)
  end
end
if pause and now + pause > tonumber(redis.call('HGET', place, 'pause') or 0) then
  redis.call('HSET', place, 'pause', text(now + pause))
end
if pause then
  keep(place, pause)
  if place ~= account then
    redis.call('SADD', account .. ':endpoints', place)
    redis.call('PEXPIRE', account .. ':endpoints', KEPT_MS)
  end
end
return 1
