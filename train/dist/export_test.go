package dist

// Watch starts what watches over groups on CUDA.
func (g *Group) Watch() { g.startWatching() }
