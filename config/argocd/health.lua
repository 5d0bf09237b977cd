-- The health of every kind of controlplane.kplane.dev, by the rules of kstatus: what the controllers have not seen yet, or
-- are still at work on, is in progress; what is stalled needs somebody.
local hs = { status = "Progressing", message = "the controllers have not looked at it yet" }
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local ready = conditions["Ready"]
if ready == nil then
  return hs
end
local function holds(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "the controllers have not seen its last change yet"
  return hs
end
hs.message = ready.reason .. ": " .. ready.message
if holds("Stalled") then
  hs.status = "Degraded"
elseif obj.metadata.deletionTimestamp ~= nil then
  if ready.status == "True" then
    hs.message = "it is being deleted"
  end
elseif ready.status == "True" then
  hs.status = "Healthy"
  if conditions["FieldsSupported"] ~= nil and not holds("FieldsSupported") then
    hs.message = conditions["FieldsSupported"].message
  end
end
return hs
