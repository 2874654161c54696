// Package batch stores groups of messages in JetStream, by whichever way costs least where
// it runs.
//
// It promises:
//
//   - [Publisher.Publish] returns when the fate of every message is known: stored, refused
//     with the server's reason, or unknown because no answer came in time. What is unknown
//     may be published again by whoever made the messages idempotent.
//   - Up to [MaxMessages] messages cost one round trip. Where the store syncs each message
//     (server option SyncAlways, one replica) they cost one sync, as one atomic batch; where
//     it does not, they are pipelined, which is several times cheaper than a batch there.
//     Nobody has to say which it is: the publisher times both and follows.
//   - Refusals that only batches know (switched off for the stream, too many open ones)
//     are not the caller's: the messages then go one by one.
//
// Replies are collected by one standing subscription with reused reply subjects, which is
// what makes a message cheap for client and server alike.
package batch
