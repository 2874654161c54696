// Package router finds the targets of a signal among any number of routes.
//
// It promises that
//
//   - a router never changes. [Router.With] and [Router.Without] give a new one that shares
//     what did not change, so a reload builds a router and swaps a pointer, and any number
//     of goroutines read without locks;
//   - nothing is half added: if one route is invalid, [New] and With report every problem
//     and add none;
//   - the order of targets is fixed: the more specific pattern first ([pattern.Compare]),
//     then the higher priority, then the earlier registration. A registration comes at
//     most once per signal, in however many ways its pattern fits;
//   - a predicate runs only when a signal that its pattern selects is routed, and only its
//     own route suffers when it fails or panics: the route does not match, and
//     [Router.Explain] shows why;
//   - the cost grows with the routes that match, not with those that do not, and routing
//     allocates nothing of its own.
//
// # How
//
// A pattern without wildcards is found in one hash lookup by the whole type. The others
// stand in a trie of segments (trie.go), which is walked along words, "*" and "**" side by
// side (search.go). What branches widely, the exact patterns and the words below a node, is
// a persistent hash table (table.go): a change copies the few small nodes on its path,
// which takes microseconds with a hundred thousand routes.
//
// Because nothing that a reader holds ever changes, a version of a router keeps what it
// shares with later ones alive: drop versions that are no longer used.
package router
