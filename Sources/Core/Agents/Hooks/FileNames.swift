/// The names that a file has: as it was given, from the root, and from the folder that somebody works in.
package enum FileNames {
    /// - Parameter folder: absolute; nil: nobody says.
    package static func all(of file: [UInt8], in folder: [UInt8]?) -> [[UInt8]] {
        let slash = UInt8(ascii: "/")
        var names = [file]
        func add(_ name: [UInt8]) { if !name.isEmpty, !names.contains(name) { names.append(name) } }
        let isAbsolute = file.first == slash
        guard isAbsolute || folder?.first == slash else { return names }
        let whole = normalized(isAbsolute ? file : (folder ?? []) + [slash] + file)
        add(whole)
        if let folder, folder.first == slash {
            let start = normalized(folder) + [slash]
            if whole.starts(with: start) { add(Array(whole.dropFirst(start.count))) }
        }
        return names
    }

    /// An absolute path without empty segments, `.` and `..`.
    private static func normalized(_ path: [UInt8]) -> [UInt8] {
        var segments: [ArraySlice<UInt8>] = []
        for segment in path.split(separator: UInt8(ascii: "/")) {
            if segment.elementsEqual(".".utf8) { continue }
            if segment.elementsEqual("..".utf8) { _ = segments.popLast() } else { segments.append(segment) }
        }
        return segments.flatMap { [UInt8(ascii: "/")] + $0 }
    }
}
