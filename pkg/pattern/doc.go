// Package pattern is the one grammar, and the one matcher, for choosing signals by type.
//
// It promises that the same pattern selects the same types wherever it is used (routes,
// subscriptions, replay, authorization), that matching never allocates, and that the cost
// of a match is linear in the length of the type.
//
// # Grammar
//
// A pattern is one or more segments joined by dots. Each segment is one of
//
//	word   letters, digits, "_" and "-": exactly that segment, case-sensitive
//	*      any one segment
//	**     any number of segments, also none
//
// Wildcards are whole segments: "a*" and "***" are errors, as are an empty segment and
// two "**" in a row, which would say nothing more than one. A pattern covers the whole
// type, never a prefix of it.
//
//	pattern         selects                            not
//	order.created   order.created                      order, order.created.v1, Order.created
//	order.*         order.created                      order, order.item.added
//	*.created       order.created                      created, shop.order.created
//	order.**        order, order.created, order.a.b    orders, my.order
//	**.created      created, order.created             created.v1
//	order.**.paid   order.paid, order.a.b.paid         order, order.paid.v1
//	*.**            every type                         (as ** and **.* do)
//	a.*.**          a.b, a.b.c                         a
//
// Wildcards take whatever a type's segment holds, so "*" also selects the foreign segment
// "push v1" that no word could name. A text that is no type, because it is empty or has an
// empty segment, is selected by nothing.
//
// # Specificity
//
// When several patterns select a type, the more specific comes first: a pattern without
// wildcards before any with, then the higher [Pattern.Specificity]. [Compare] is that order.
//
// # Cost
//
// Match walks pattern and type side by side and remembers only the last "**" it passed.
// Each segment of the type is the start of at most one attempt to place the words between
// two "**", and an attempt looks at no more segments than stand between them. So a match
// costs at most len(type) × the length of the longest run of segments without "**";
// the number of "**" does not multiply it. Patterns are at most [MaxLength] bytes.
//
// A Pattern is an immutable value, safe for concurrent use, comparable with == and usable
// as a map key; equal patterns have equal text.
package pattern
