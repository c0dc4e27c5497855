-- Appends the events of many jobs to their logs and publishes them, each job all or nothing.
--
-- Keyspace (the braces are literal: both keys of a job lie in one cluster slot)
--   deltaworks:{job}:log   stream; entry id "<attempt>-<offset>", one field "e": the event's JSON
--   deltaworks:{job}       pub/sub channel; message: the same JSON
--
-- KEYS   one log for each job
-- ARGV   for each job, in the order of KEYS:
--          mode         append   the entries follow `predecessor`
--                       first    an attempt's first entries: where the newest is of a lower
--                                attempt, or there is no log
--                       rebuild  everything from offset 0: the old log is dropped
--                       end      the closing event by somebody who is not the holder
--          predecessor  id before the first entry ("" unless the mode is append)
--          life         milliseconds the log lives on from now; "0" leaves its life as it is
--          count        entries that follow
--          count times  id, JSON
-- Returns for each job: 1 applied, 2 had been applied before, 3 fenced (a higher attempt, or the
-- log is closed), 4 lost (the log lacks what comes before).

local APPLIED, BEFORE, FENCED, LOST = 1, 2, 3, 4
local ENDS = { completed = true, incomplete = true, failed = true, cancelled = true }

local function numbers(id)
  local attempt, offset = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(attempt), tonumber(offset)
end

local function verdict(key, mode, predecessor, last)
  local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if not newest then
    return mode == 'append' and LOST or APPLIED
  end
  if mode == 'append' and newest[1] == predecessor then
    return APPLIED
  end
  local attempt, offset = numbers(newest[1])
  local my_attempt, my_offset = numbers(last)
  if attempt > my_attempt then
    return FENCED
  end
  if attempt == my_attempt and offset >= my_offset and mode ~= 'rebuild' then
    return BEFORE
  end
  if ENDS[string.match(newest[2][2], '^{"type":"(%a+)"')] then
    return FENCED
  end
  if mode == 'append' or (mode == 'first' and attempt == my_attempt) then
    return LOST
  end
  return APPLIED
end

local results, place = {}, 1
for index, key in ipairs(KEYS) do
  local mode, predecessor, life = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local count = tonumber(ARGV[place + 3])
  local from, to = place + 4, place + 3 + 2 * count
  local result = verdict(key, mode, predecessor, ARGV[to - 1])
  if result == APPLIED then
    local channel = string.sub(key, 1, -5)
    if mode == 'rebuild' then
      redis.call('DEL', key)
    end
    for entry = from, to, 2 do
      redis.call('XADD', key, ARGV[entry], 'e', ARGV[entry + 1])
      if mode ~= 'rebuild' or entry == to - 1 then
        redis.call('PUBLISH', channel, ARGV[entry + 1])
      end
    end
    if life ~= '0' then
      redis.call('PEXPIRE', key, life)
    end
  end
  results[index] = result
  place = to + 1
end
return results
