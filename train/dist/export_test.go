package dist

// Watch starts what watches over groups on CUDA. It returns what tells whether
// that has aborted the group.
func (g *Group) Watch() (aborted func() bool) {
	g.startWatching()
	return func() bool { return g.watch.broken.Load() != nil }
}
