package agent

// For tests of what takes a minute when it is looked at from outside.
var (
	TimeoutOf = timeoutOf
	NewRoom   = newRoom
	Enter     = (*room).enter
	Leave     = (*room).leave
)
