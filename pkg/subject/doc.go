// Package subject makes every name that the mesh uses on NATS: subjects, filters, streams,
// buckets and keys. No other package spells one.
//
// It promises that
//
//   - a type has exactly one subject on a bus and the subject gives the type back
//     ([Space.Signal], [Space.Parse]), for any type that CloudEvents allows within the
//     limits below; what it refuses would be lost or do damage on the server;
//   - [Space.Filters] selects at least what the patterns select, and says when it selects
//     more, so that the caller runs the patterns over what arrives;
//   - no two names collide: not those of two buses, nor of two prefixes in one account.
//
// # Names
//
// With the prefix "sig" and the bus "shop":
//
//	sig.shop.<type>                       a signal, in stream SIG_shop
//	sig-dlq.shop.<kind>.<name>            a dead letter, in stream SIG_shop_DLQ
//	sig-later.shop.run.<kind>.<name>      a delivery to be run, in stream SIG_shop_LATER
//	sig-later.shop.at.<key>               a delivery held back until its time, same stream
//	sig-later.shop.at.signal.<id>.<key>   a signal held back until its time, same stream
//	sig-later.shop.at.schedule.<name>     a schedule, same stream
//	sig-named.<name>                      request and reply with a named target
//	SIG_shop_JOURNAL                      the bucket of who caused what
//	SIGMESH_ROUTES, SIGMESH_NODES         buckets of the whole mesh
//
// # Escapes
//
// Letters, digits, "_" and "-" of a type travel as they are. Every other byte of a segment
// is written "=XX" with two upper-case hexadecimal digits, "=" itself among them:
// "com.github/push v1" is sig.shop.com.github=2Fpush=20v1. Only this form is read back, so
// no other subject can pass for the same type.
//
// # Limits
//
// A type has at most [MaxType] bytes in [MaxDepth] segments of at most [MaxSegment] bytes,
// is UTF-8, and has no empty segment and no character that CloudEvents forbids. The depth makes
// exact filters possible for a "**" inside a pattern.
//
// A Space is an immutable value, safe for concurrent use.
package subject
