// Package codec carries signals over NATS and HTTP, in every form CloudEvents gives them:
// one JSON document (structured mode), attributes as headers (binary mode), batches, and the
// compact MessagePack form of the mesh.
//
// What it promises:
//
//   - Readers take every form, always, per message; nothing has to be agreed on beforehand.
//   - What is written and read again is the same signal. Where a form would lose something,
//     [ToNATS] takes another; HTTP binary mode, which is asked for by name, turns extension
//     values into text and spells out the content type that none stood for, as its binding says.
//   - The bindings are followed to the letter when writing. When reading, the known deviations
//     of the CloudEvents Go SDK are understood as well.
//   - Only ce- headers and the content type are read. No other header, and no Nats- header in
//     particular, ever becomes part of a signal, so none gets back out.
//   - Hostile input costs no more memory than its own size and is refused with an error coded
//     Invalid or TooLarge: sizes, depth and counts are checked before anything is allocated.
//
// Readers make sure of a CloudEvent; whether it can travel in the mesh is for
// [signal.Signal.Validate] to say. Writers expect a signal that did.
//
// Everything here is a plain function, safe for concurrent use.
//
// # MessagePack
//
// A signal is a map from attribute names to strings, booleans and integers. Data in a bin is
// the data, byte for byte, JSON text included: that is what is written. Any other value under
// a JSON content type is a native one and becomes the JSON text that says the same. A batch is
// an array of such maps. [CheckMsgpack] runs before anything is decoded.
package codec
