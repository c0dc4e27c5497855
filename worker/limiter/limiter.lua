-- Admission to upstreams, for all workers: pace, open streams, cool-downs, learned limits, retries.
--
-- Keyspace. {a} is the account, a hash of an upstream's address and a key's fingerprint: all keys
-- of an account lie in one cluster slot. m is a model, or * for all models of the account. Every
-- key has a life of its own; what is gone is as if it had never been.
--   deltaworks:limit:{a}:flow:m      hash, every field a number, 0 where it is missing:
--       requests, tokens             when the bucket is full again
--       requests_learned, _until     the limit a second that the upstream's headers told of, and
--       tokens_learned, _until       until when that is believed
--       due, epoch                   end of the latest cool-down; how many there were
--       known                        1 where something was tried of late
--       credits, wanted              while wanted > 0, starts are slow: so many may go now, and
--       few, credited                so many clean ones are wanted; `few` went first; last news
--   deltaworks:limit:{a}:streams:m   sorted set: "job:attempt" of each open stream, by expiry
--   deltaworks:limit:{a}:calls:m     hash: "<what>:<second % 64>" -> second * 2^20 + count
--   deltaworks:limit:{a}:retries     what is left of the retry budget
--   deltaworks:limit:processes       sorted set: worker processes, by expiry
-- Moments and durations are microseconds by Redis' own clock, rates are units a second.
--
-- ARGV   operation, its arguments as one JSON object; KEYS and answers: see each operation.
--
-- The pace is virtual scheduling (the generic cell rate algorithm, ITU-T I.371): a bucket of
-- `burst` units is described by the moment at which it will be full again. A request's slot is
-- the first moment at which the bucket holds what the request needs. It may lie ahead: then the
-- slot is reserved, and its owner goes at that moment without asking for it again.

local SECOND = 1000000
local IDLE = 600 * SECOND     -- how long what is known outlives its last use
local BURST_S = { requests = 0.25, tokens = 5 }
local FIRST_SLOW, WANTED = 2, 30   -- 2 + 4 + 8 + 16: then 32 at a time
local SCOUTS = 8              -- first requests to an upstream of which no limit is known
local NO_NEWS = 10 * SECOND   -- after so long without a word of the first ones, others try
local RING = 64
local TALLY = 2 ^ 20
local RETRIES = 100
local COOLING, SLOW_START, STREAMS = 1, 2, 3
local SHORT_OF = { requests = 4, tokens = 5 }

local operation, ask = ARGV[1], cjson.decode(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * SECOND + clock[2]

local function whole(number)
  return string.format('%.0f', number)
end

-- Reads go through to what is stored; what is written stays apart, for `save`.
local function load(key)
  local stored = {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    stored[fields[i]] = tonumber(fields[i + 1])
  end
  return setmetatable({}, { __index = function(_, name) return stored[name] or 0 end })
end

local function save(key, flow)
  local fields = {}
  for name, number in pairs(flow) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.find(name, 'learned', 1, true) and number or whole(number)
  end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
    redis.call('PEXPIRE', key, whole((math.max(flow.due - now, 0) + IDLE) / 1000))
  end
end

-- The account's and the model's scope; KEYS are flow, streams and calls of each.
local function scopes()
  local both = {}
  for i, limits in ipairs(ask.limits) do
    local at = 3 * i - 2
    both[i] = {
      flow = load(KEYS[at]), flow_key = KEYS[at], limits = limits,
      streams = KEYS[at + 1], calls = KEYS[at + 2],
    }
  end
  return both
end

-- Units a second: as configured, else as learned; nil where neither is known.
local function rate_of(scope, unit)
  local configured = scope.limits[unit]
  if configured > 0 then
    return configured
  end
  local believed = scope.flow[unit .. '_until'] > now and scope.flow[unit .. '_learned'] or 0
  return believed > 0 and believed or nil
end

-- What the bucket holds, and what of it bulk must leave, both as time. One whole request is left
-- for interactive even where the share would be less: else a low rate would leave nothing.
local function burst_of(unit, rate)
  local burst = rate * BURST_S[unit]
  local reserve = ask.share * burst
  if unit == 'requests' and ask.share > 0 then
    reserve = math.max(reserve, 1)
  end
  if unit == 'requests' then
    burst = math.max(burst, 1 + reserve)
  end
  return burst * SECOND / rate, reserve * SECOND / rate
end

local function cost_of(unit)
  return unit == 'requests' and 1 or ask.tokens
end

local function slot(scope, unit)
  local rate = rate_of(scope, unit)
  if not rate then
    return now
  end
  local burst, reserve = burst_of(unit, rate)
  local needs = cost_of(unit) * SECOND / rate
  if ask.bulk then
    burst = burst - reserve
  elseif unit == 'tokens' then
    needs = 0  -- on credit: a long prompt that somebody waits for needs no full bucket
  end
  -- What is larger than the bucket goes when that is full, and leaves a debt.
  return math.max(now, scope.flow[unit]) + math.min(needs, burst) - burst
end

local function take(scope, unit, units)
  local rate = rate_of(scope, unit)
  if rate then
    scope.flow[unit] = math.max(now, scope.flow[unit]) + units * SECOND / rate
  end
end

local function start_slowly(flow, few, wanted)
  flow.credits, flow.few, flow.wanted, flow.credited = few, few, wanted, now
  flow.known = 1
end

local function may_start(flow)
  if flow.wanted == 0 or flow.credits >= 1 then
    return true
  end
  if now - flow.credited < NO_NEWS then
    return false
  end
  flow.credits, flow.credited = flow.few, now
  return true
end

local function has_stream(scope)
  local most = scope.limits.streams
  if most == 0 then
    return true
  end
  redis.call('ZREMRANGEBYSCORE', scope.streams, '-inf', whole(now))
  if redis.call('ZSCORE', scope.streams, ask.member) then
    return true
  end
  if ask.bulk then
    most = most - math.min(math.ceil(ask.share * most), most - 1)
  end
  return redis.call('ZCARD', scope.streams) < most
end

local function hold_stream(key, member, from)
  redis.call('ZADD', key, whole(from + ask.lease), member)
  redis.call('PEXPIRE', key, whole((from - now + 2 * ask.lease) / 1000))
end

-- Calls by the second, for as long as the ring reaches back.
local function tally(scope, what)
  local second = math.floor(now / SECOND)
  local field = what .. ':' .. second % RING
  local counted = tonumber(redis.call('HGET', scope.calls, field) or 0)
  local fresh = second * TALLY
  redis.call('HSET', scope.calls, field, whole(math.max(counted, fresh) + 1))
  redis.call('PEXPIRE', scope.calls, 2 * RING * 1000)
end

local function tallied(scope, what, within)
  local second, fields, sum = math.floor(now / SECOND), {}, 0
  for i = 0, math.min(math.ceil(within), RING - 1) do
    fields[i + 1] = what .. ':' .. (second - i) % RING
  end
  for i, counted in ipairs(redis.call('HMGET', scope.calls, unpack(fields))) do
    counted = tonumber(counted) or 0
    if math.floor(counted / TALLY) == second - i + 1 then
      sum = sum + counted % TALLY
    end
  end
  return sum
end

-- Everybody leaves the scope alone until `wait` is over; a cool-down is only ever extended.
local function cool(flow, wait)
  if now >= flow.due then
    flow.epoch = flow.epoch + 1  -- later than that, it is one more witness of the same
  end
  flow.due = math.max(flow.due, now + wait)
  start_slowly(flow, FIRST_SLOW, WANTED)
end

local function cool_where_due(scope, failure)
  tally(scope, failure.category)
  local errors = tallied(scope, failure.category, failure.within)
  local calls = tallied(scope, 'calls', failure.within)
  if errors >= failure.errors and calls >= failure.calls and errors > failure.share * calls then
    cool(scope.flow, failure.wait)
  end
end

local operations = {}

-- Answer: 1, microseconds until the slot, sum of epochs, 1 where the start is watched;
--     or  0, microseconds until asking makes sense (0: unknown), what there is none of: 1 cooling,
--         2 slow start, 3 streams, 4 requests, 5 tokens.
function operations.acquire()
  local both = scopes()
  local model = both[2].flow
  local limited = rate_of(both[1], 'requests') or rate_of(both[1], 'tokens')
    or rate_of(both[2], 'requests') or rate_of(both[2], 'tokens')
  if not limited and model.known == 0 then
    start_slowly(model, SCOUTS, 1)
  elseif not limited then
    model.known = 1  -- nothing else would say that it is in use
  end
  local start, cause = now, 0
  for _, scope in ipairs(both) do
    local flow = scope.flow
    if flow.due > now then
      return { 0, flow.due - now, COOLING }
    elseif not may_start(flow) then
      return { 0, 0, SLOW_START }
    elseif not has_stream(scope) then
      return { 0, 0, STREAMS }
    end
    for unit in pairs(BURST_S) do
      local first = slot(scope, unit)
      if first > start then
        start, cause = first, SHORT_OF[unit]
      end
    end
  end
  if start - now > ask.horizon then
    return { 0, start - now - ask.horizon, cause }
  end
  local watched, epochs = 0, 0
  for _, scope in ipairs(both) do
    local flow = scope.flow
    take(scope, 'requests', 1)
    take(scope, 'tokens', ask.tokens)
    if flow.wanted > 0 then
      flow.credits, watched = flow.credits - 1, 1
    end
    if scope.limits.streams > 0 then
      hold_stream(scope.streams, ask.member, start)
    end
    epochs = epochs + flow.epoch
    save(scope.flow_key, flow)
  end
  return { 1, start - now, epochs, watched }
end

-- An attempt has ended. KEYS as above, then the retry budget.
function operations.release()
  for i, scope in ipairs(scopes()) do
    redis.call('ZREM', scope.streams, ask.member)
    take(scope, 'tokens', ask.tokens)  -- used less estimated: may be negative
    if ask.unheard and scope.flow.wanted > 0 then
      scope.flow.credits, scope.flow.credited = scope.flow.credits + 1, now
    end
    if ask.clean or ask.failed then
      tally(scope, 'calls')
    end
    if ask.failure and ask.failure.scope == i then
      cool_where_due(scope, ask.failure)
    end
    save(scope.flow_key, scope.flow)
  end
  local left = ask.clean and tonumber(redis.call('GET', KEYS[7]) or RETRIES) or RETRIES
  if left < RETRIES then
    redis.call('SET', KEYS[7], left + 1, 'KEEPTTL')
  end
end

-- What responses said of the upstream: clean starts that were watched, and its own limits.
function operations.observe()
  local both = scopes()
  for _, scope in ipairs(both) do
    local flow = scope.flow
    if flow.wanted > 0 and ask.starts > 0 then
      flow.credits, flow.credited = flow.credits + 2 * ask.starts, now
      flow.wanted = math.max(0, flow.wanted - ask.starts)
    end
  end
  for unit, reading in pairs(ask.readings) do
    local flow = both[2].flow
    if reading.limit > 0 then
      flow[unit .. '_learned'], flow[unit .. '_until'] = reading.limit, now + IDLE
    end
    local rate = rate_of(both[2], unit)
    if rate and reading.remaining >= 0 then
      local burst = burst_of(unit, rate)
      flow[unit] = math.max(flow[unit], now + burst - reading.remaining * SECOND / rate)
    end
  end
  for _, scope in ipairs(both) do
    save(scope.flow_key, scope.flow)
  end
end

-- KEYS: streams. Renews the open streams of a process, or adds them again after a loss.
function operations.renew()
  for i, key in ipairs(KEYS) do
    for _, member in ipairs(ask.members[i]) do
      hold_stream(key, member, now)
    end
  end
end

-- KEYS: processes. Answer: how many there are.
function operations.beat()
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
  hold_stream(KEYS[1], ask.member, now)
  return { redis.call('ZCARD', KEYS[1]) }
end

-- KEYS: the retry budget. Answer: 1 where the cost was taken, 0 where too little is left.
function operations.spend()
  local left = tonumber(redis.call('GET', KEYS[1]) or RETRIES)
  if left < ask.cost then
    return { 0 }
  end
  redis.call('SET', KEYS[1], left - ask.cost, 'PX', whole(IDLE * 6 / 1000))
  return { 1 }
end

return operations[operation]()
