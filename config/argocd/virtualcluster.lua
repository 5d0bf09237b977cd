-- The health of a VirtualCluster: the record that the shared API server keeps of a control plane.
local hs = { status = "Progressing", message = "the server has not looked at it yet" }
local phase = obj.status ~= nil and obj.status.phase or nil
if phase == "Active" then
  hs.status = "Healthy"
  hs.message = "it is served"
elseif phase == "Detached" then
  hs.status = "Suspended"
  hs.message = "its data is kept and nobody is let in, until a ControlPlane adopts it"
elseif phase == "Terminating" then
  hs.message = "its data is being removed"
elseif phase ~= nil then
  hs.message = phase
end
return hs
