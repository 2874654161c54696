// Package std makes the adapters that need no further dependency known by name: bus,
// console, file, http, logger, named, noop, pubsub, request and webhook, with webhook as a
// source too. Import it for its effect:
//
//	import _ "github.com/signalmesh/signalmesh/pkg/adapter/std"
package std

import (
	_ "github.com/signalmesh/signalmesh/pkg/adapter/busbridge"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/cehttp"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/console"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/file"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/logger"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/named"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/natscore"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/noop"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/webhook"
)
