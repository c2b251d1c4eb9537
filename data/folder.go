package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// imageExtensions are the endings of the files that a folder is searched for, in
// lower case. What a file really is, its content tells.
var imageExtensions = []string{".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}

// maxDepth bounds how deep folders may nest below a class, which also ends loops
// of symbolic links.
const maxDepth = 16

// Folder is a dataset of image files, one folder per class.
type Folder struct {
	dir     string
	classes []string
	files   []folderFile
}

// folderFile is a path relative to the folder of its class.
type folderFile struct {
	class int32
	path  string
}

// NewFolder lists the images of dir/CLASS/..., however deep, following symbolic
// links and leaving out names that begin with a dot. Samples are ordered by class
// and then by path. Classes are the given ones, where a folder of another name is
// an error, or else the sorted names of the folders. It fails where there is no
// class folder, or no image at all, or, without given classes, a class folder
// without images.
func NewFolder(dir string, classes []string) (*Folder, error) {
	found, err := classFolders(dir)
	if err != nil {
		return nil, err
	}
	strict := classes == nil
	if strict {
		classes = found
	}
	for _, name := range found {
		if !slices.Contains(classes, name) {
			return nil, fmt.Errorf("data: %s: folder %s is not one of the %d training classes", dir, name, len(classes))
		}
	}
	f := &Folder{dir: dir, classes: classes}
	perClass, err := listClasses(dir, classes)
	if err != nil {
		return nil, err
	}
	for class, paths := range perClass {
		if len(paths) == 0 && strict {
			return nil, fmt.Errorf("data: %s holds no image (%s)", filepath.Join(dir, classes[class]), strings.Join(imageExtensions, " "))
		}
		for _, p := range paths {
			f.files = append(f.files, folderFile{class: int32(class), path: p})
		}
	}
	if len(f.files) == 0 {
		return nil, fmt.Errorf("data: %s holds no image (%s)", dir, strings.Join(imageExtensions, " "))
	}
	return f, nil
}

// HoldsPictures tells whether dir is the folder of a dataset of its own: pictures
// in a folder for each class, with or without splits above them, or tar shards.
// The folder of a named set's files is none.
func HoldsPictures(dir string) bool {
	if tars, _ := filepath.Glob(filepath.Join(dir, "*.tar")); len(tars) > 0 {
		return true
	}
	return picturesBelow(dir, 0)
}

// picturesBelow looks for one picture in the folders of dir, not in dir itself. A
// folder that cannot be read has none: whoever opens the set says so.
func picturesBelow(dir string, depth int) bool {
	const deepest = 3 // SPLIT/CLASS, and one more
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case isDir(dir, e):
			if depth < deepest && picturesBelow(filepath.Join(dir, e.Name()), depth+1) {
				return true
			}
		case depth > 0 && IsPicture(e.Name()):
			return true
		}
	}
	return false
}

// Len is the number of images.
func (f *Folder) Len() int { return len(f.files) }

// Classes are the names of the class folders.
func (f *Folder) Classes() []string { return f.classes }

// Label is the label of image i.
func (f *Folder) Label(i int) int { return int(f.files[i].class) }

// Sample reads the file of image i.
func (f *Folder) Sample(i int) (Sample, error) {
	if err := checkIndex(f.dir, i, f.Len()); err != nil {
		return Sample{}, err
	}
	file := f.files[i]
	s := Sample{Index: i, Label: int(file.class), Name: filepath.Join(f.dir, f.classes[file.class], file.path)}
	data, err := os.ReadFile(s.Name)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the name is in the sample
		}
		return Sample{}, s.fail(err)
	}
	s.Encoded = data
	return s, nil
}

// classFolders returns the sorted names of the folders in dir.
func classFolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	var names []string
	images := 0
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case isDir(dir, e):
			names = append(names, e.Name())
		case IsPicture(e.Name()):
			images++
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("data: %s has no class folders (it holds %d images itself): want %s",
			dir, images, filepath.Join(dir, "CLASS", "image.jpg"))
	}
	slices.Sort(names)
	return names, nil
}

// listClasses lists the images of every class, several folders at a time: on a
// network file system the waiting is what takes long.
func listClasses(dir string, classes []string) ([][]string, error) {
	const parallel = 16
	out, errs := make([][]string, len(classes)), make([]error, len(classes))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, name := range classes {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			root := filepath.Join(dir, name)
			if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
				return // a training class without a folder here
			}
			errs[i] = listImages(root, "", 0, &out[i])
			slices.Sort(out[i])
		}()
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// listImages appends the images below root/rel as paths relative to root.
func listImages(root, rel string, depth int, out *[]string) error {
	if depth > maxDepth {
		return fmt.Errorf("data: %s nests deeper than %d folders (a loop of links?)", filepath.Join(root, rel), maxDepth)
	}
	dir := filepath.Join(root, rel)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(rel, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case IsPicture(e.Name()) && !e.IsDir():
			*out = append(*out, path)
		case isDir(dir, e):
			if err := listImages(root, path, depth+1, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// isDir tells whether an entry is a folder or a link to one.
func isDir(dir string, e os.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.IsDir()
	}
	st, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && st.IsDir()
}

// IsPicture tells whether a file's name ends as pictures' do that folders are
// searched for.
func IsPicture(name string) bool {
	return slices.Contains(imageExtensions, strings.ToLower(filepath.Ext(name)))
}
