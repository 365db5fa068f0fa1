// Runs the golden samples in Core ML on a Mac and compares them with what edgeport saw.
//
//     swift SelfTest.swift [FOLDER]     (the folder with the .mlpackage and golden/; by default the one above)
//
// An output passes if it is about as near to the float model as it was in edgeport's evaluator: within 6 dB, or 40 dB.
// Exit codes: 0 all outputs pass, 1 one does not, 2 nothing could be run. Packages with states are for selftest.py.

import CoreML
import CoreVideo
import Foundation

struct Entry {
    let dtype: String
    let shape: [Int]
    let bytes: Data

    var values: [Double] {
        switch dtype {
        case "F32": return read(Float(0)).map { Double($0) }
        case "F64": return read(Double(0))
        case "F16": return read(UInt16(0)).map { Entry.half($0) }
        case "I32": return read(Int32(0)).map { Double($0) }
        case "I64": return read(Int64(0)).map { Double($0) }
        case "I8": return read(Int8(0)).map { Double($0) }
        case "U8", "BOOL": return read(UInt8(0)).map { Double($0) }
        default: fail("golden samples of type \(dtype) are not read")
        }
    }

    func read<T>(_ zero: T) -> [T] {
        var numbers = [T](repeating: zero, count: bytes.count / MemoryLayout<T>.size)
        _ = numbers.withUnsafeMutableBytes { bytes.copyBytes(to: $0) }
        return numbers
    }

    var isFloat: Bool { dtype.hasPrefix("F") }

    static func half(_ bits: UInt16) -> Double {  // Float16 is missing on Intel Macs
        let sign: Double = bits >> 15 == 0 ? 1 : -1
        let exponent = Int(bits >> 10) & 31, fraction = Double(bits & 1023) / 1024
        if exponent == 31 { return fraction == 0 ? sign * .infinity : .nan }
        return sign * (exponent == 0 ? fraction * pow(2, -14) : (1 + fraction) * pow(2, Double(exponent - 15)))
    }
}

func fail(_ text: String) -> Never {
    print(text)
    exit(2)
}

/// safetensors: 8 bytes with the length of a JSON header, the header, the arrays.
func readGolden(_ file: URL) throws -> [String: Entry] {
    let data = try Data(contentsOf: file)
    let size = data.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
    let header = try JSONSerialization.jsonObject(with: data.subdata(in: 8..<8 + size)) as! [String: [String: Any]]
    return header.filter { $0.key != "__metadata__" }.mapValues { (entry: [String: Any]) -> Entry in
        let offsets = entry["data_offsets"] as! [Int]
        return Entry(
            dtype: entry["dtype"] as! String, shape: entry["shape"] as! [Int],
            bytes: data.subdata(in: 8 + size + offsets[0]..<8 + size + offsets[1]))
    }
}

func array(_ entry: Entry, as type: MLMultiArrayDataType) throws -> MLMultiArray {
    let made = try MLMultiArray(shape: (entry.shape.isEmpty ? [1] : entry.shape).map { NSNumber(value: $0) }, dataType: type)
    for (index, value) in entry.values.enumerated() { made[index] = NSNumber(value: value) }
    return made
}

/// Pixels [1, channels, height, width] (or channels last) as a buffer that Core ML takes for an image.
func image(_ entry: Entry, colour: String, channelsLast: Bool) -> CVPixelBuffer {
    let grey = colour == "GRAY"
    let (channels, height, width) =
        channelsLast ? (entry.shape[3], entry.shape[1], entry.shape[2]) : (entry.shape[1], entry.shape[2], entry.shape[3])
    var made: CVPixelBuffer?
    let kind = grey ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
    CVPixelBufferCreate(nil, width, height, kind, nil, &made)
    guard let buffer = made else { fail("no buffer for an image of \(width) x \(height)") }
    CVPixelBufferLockBaseAddress(buffer, [])
    let base = CVPixelBufferGetBaseAddress(buffer)!.assumingMemoryBound(to: UInt8.self)
    let row = CVPixelBufferGetBytesPerRow(buffer)
    let pixels = [UInt8](entry.bytes)
    for y in 0..<height {
        for x in 0..<width {
            for c in 0..<channels {
                let from = channelsLast ? (y * width + x) * channels + c : (c * height + y) * width + x
                let to = grey ? x : 4 * x + (colour == "RGB" ? 2 - c : c)
                base[y * row + to] = pixels[from]
            }
            if !grey { base[y * row + 4 * x + 3] = 255 }
        }
    }
    CVPixelBufferUnlockBaseAddress(buffer, [])
    return buffer
}

/// dB of signal over noise for floats, the share of equal elements for integers.
func likeness(_ reference: Entry, _ got: [Double]) -> Double {
    let want = reference.values
    if !reference.isFloat { return Double(zip(want, got).filter { $0 == $1.rounded() }.count) / Double(want.count) }
    let signal = want.reduce(0) { $0 + $1 * $1 }
    let noise = zip(want, got).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    if !noise.isFinite { return -.infinity }
    return noise == 0 ? .infinity : 10 * log10(max(signal, 1e-30) / noise)
}

func table(_ metadata: [String: String], _ key: String) -> [String: Any] {
    let text = Data((metadata[key] ?? "{}").utf8)
    return ((try? JSONSerialization.jsonObject(with: text)) as? [String: Any]) ?? [:]
}

let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
let folder = CommandLine.arguments.count > 1 ? URL(fileURLWithPath: CommandLine.arguments[1]) : here
do {
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    guard let package = files.first(where: { $0.pathExtension == "mlpackage" }) else { fail("no package in \(folder.path)") }
    let golden = try readGolden(folder.appendingPathComponent("golden/golden.safetensors"))
    let model = try MLModel(contentsOf: try MLModel.compileModel(at: package))
    let metadata = model.modelDescription.metadata[.creatorDefinedKey] as? [String: String] ?? [:]
    if !table(metadata, "edgeport.states").isEmpty { fail("the package keeps states; run selftest.py") }
    var renamed: [String: String] = [:]  // the source's name -> the package's
    for (name, own) in table(metadata, "edgeport.names") { renamed[own as! String] = name }
    let images = table(metadata, "edgeport.images") as! [String: [String: Any]]

    var good = true
    for index in 0... {
        let inputs = golden.filter { $0.key.hasPrefix("input/\(index)/") }
        if inputs.isEmpty { break }
        var feeds: [String: MLFeatureValue] = [:]
        for (key, entry) in inputs {
            let name = String(key.dropFirst("input/\(index)/".count)), own = renamed[name] ?? name
            guard let wanted = model.modelDescription.inputDescriptionsByName[own] else { fail("no input \(own)") }
            if let said = images[name] {
                let buffer = image(entry, colour: said["colour"] as! String, channelsLast: said["channels_last"] as! Bool)
                feeds[own] = MLFeatureValue(pixelBuffer: buffer)
            } else {
                feeds[own] = MLFeatureValue(multiArray: try array(entry, as: wanted.multiArrayConstraint!.dataType))
            }
        }
        let outputs = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: feeds))
        for (key, reference) in golden.filter({ $0.key.hasPrefix("reference/\(index)/") }).sorted(by: { $0.key < $1.key }) {
            let name = String(key.dropFirst("reference/\(index)/".count)), own = renamed[name] ?? name
            guard let made = outputs.featureValue(for: own)?.multiArrayValue else { fail("no output \(own)") }
            let got = (0..<made.count).map { made[$0].doubleValue }
            let seen = likeness(reference, golden["output/\(index)/\(name)"]!.values)
            let now = likeness(reference, got)
            let ok = got.count == reference.values.count
                && (reference.isFloat ? now >= min(seen - 6, 40) : now >= seen - 0.02)
            print("\(ok ? "ok  " : "FAIL") sample \(index), \(name): \(now) here, \(seen) in edgeport")
            good = good && ok
        }
    }
    print(good ? "all outputs pass" : "some outputs do not pass")
    exit(good ? 0 : 1)
} catch {
    fail("\(error)")
}
