package plug

// Merge lays documents over each other: maps are merged key by key, lists are appended, and
// of two other values the later one is taken. Every value keeps the place it was read from,
// so that problems of the whole still name the right file. Merge of none is the zero Node.
func Merge(nodes ...Node) Node {
	var all *tree
	for _, n := range nodes {
		if !n.IsZero() {
			all = merge(all, n.tree)
		}
	}
	return Node{tree: all}
}

// merge returns over laid on base; neither is changed.
func merge(base, over *tree) *tree {
	switch {
	case base == nil || base.kind == kindNull:
		return over
	case over.kind == kindNull:
		return base
	case base.kind == kindList && over.kind == kindList:
		both := *over
		both.items = append(base.items[:len(base.items):len(base.items)], over.items...)
		return &both
	case base.kind != kindMap || over.kind != kindMap:
		return over
	}
	both := &tree{kind: kindMap, file: over.file, at: over.at}
	for i, key := range base.keys {
		value := base.items[i]
		if o := over.field(key); o != nil {
			value = merge(value, o)
		}
		both.put(key, base.keyAt[i], value)
	}
	for i, key := range over.keys {
		if base.field(key) == nil {
			both.put(key, over.keyAt[i], over.items[i])
		}
	}
	return both
}
