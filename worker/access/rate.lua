-- The generic cell rate algorithm: one moment a key, at which its bucket would be full again.
--
-- KEYS[1]  deltaworks:rate:{<key id>}   string: microseconds by Redis' clock; expires when full
-- ARGV[1]  microseconds between two requests at the rate
-- ARGV[2]  how many requests may come at once
-- Returns {0} where the request may pass, else {microseconds until it may}.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval
local ahead = full - now - interval * burst
if ahead > 0 then
    return {math.ceil(ahead)}
end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return {0}
