// Renders a chart as `helm template` does, where helm is not at hand: Go's own templates with the functions of sprig, which is what Helm
// is made of, and the few functions that Helm adds. It reads no dependencies, hooks or schemas.
//
//	go run render.go CHART RELEASE NAMESPACE [VALUES]
package main

import (
	"bytes"
	"fmt"
	"io/ioutil"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: render CHART RELEASE NAMESPACE [VALUES]"))
	}
	chart, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values := read(filepath.Join(chart, "values.yaml"))
	if len(os.Args) > 4 {
		values = merge(values, read(os.Args[4]))
	}
	about := map[string]interface{}{}
	for key, value := range read(filepath.Join(chart, "Chart.yaml")) {
		// Helm's names begin with a capital: appVersion is .Chart.AppVersion.
		about[strings.ToUpper(key[:1])+key[1:]] = value
	}
	templates, names := parse(chart, fmt.Sprint(about["Name"]))
	base := fmt.Sprint(about["Name"]) + "/templates"
	for _, name := range names {
		var text bytes.Buffer
		err := templates.ExecuteTemplate(&text, name, map[string]interface{}{
			"Values":   values,
			"Chart":    about,
			"Release":  map[string]interface{}{"Name": release, "Namespace": namespace, "Service": "Helm", "IsInstall": true},
			"Template": map[string]interface{}{"Name": name, "BasePath": base},
		})
		if err != nil {
			fail(err)
		}
		fmt.Printf("---\n# Source: %s\n%s\n", name, text.String())
	}
}

// All templates, and the names of those that are objects.
func parse(chart string, name string) (*template.Template, []string) {
	all := template.New(name).Option("missingkey=error")
	functions := sprig.TxtFuncMap()
	functions["include"] = func(name string, data interface{}) (string, error) {
		var text bytes.Buffer
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	functions["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	functions["fromYaml"] = func(text string) (map[string]interface{}, error) {
		value := map[string]interface{}{}
		return value, yaml.Unmarshal([]byte(text), &value)
	}
	all.Funcs(functions)
	var names []string
	root := filepath.Join(chart, "templates")
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := ioutil.ReadFile(path)
		if err != nil {
			return err
		}
		inside, _ := filepath.Rel(root, path)
		full := name + "/templates/" + inside
		if !strings.HasPrefix(filepath.Base(path), "_") && strings.HasSuffix(path, ".yaml") {
			names = append(names, full)
		}
		_, err = all.New(full).Parse(string(text))
		return err
	})
	if err != nil {
		fail(err)
	}
	sort.Strings(names)
	return all, names
}

func read(path string) map[string]interface{} {
	text, err := ioutil.ReadFile(path)
	if err != nil {
		fail(err)
	}
	value := map[string]interface{}{}
	if err := yaml.Unmarshal(text, &value); err != nil {
		fail(fmt.Errorf("%s: %w", path, err))
	}
	return value
}

// Maps are merged key by key, everything else is replaced.
func merge(into, from map[string]interface{}) map[string]interface{} {
	for key, value := range from {
		below, isMap := value.(map[string]interface{})
		above, wasMap := into[key].(map[string]interface{})
		if isMap && wasMap {
			value = merge(above, below)
		}
		into[key] = value
	}
	return into
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}
